# SPDX-License-Identifier: Apache-2.0
"""The protocol: messages, study, topics, manifests, frames. Pure."""
