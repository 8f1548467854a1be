# SPDX-License-Identifier: Apache-2.0
"""FA7: the site: the verdict, the rounds at this site, the site's daemon."""
