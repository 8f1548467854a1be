# SPDX-License-Identifier: Apache-2.0
"""Every condition that a person may see, in one table: the errors, the journal's records and the reasons in a status."""
