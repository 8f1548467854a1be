# SPDX-License-Identifier: Apache-2.0
"""FA3: what a peer sent: messages, envelopes, certificates, blobs, frames."""
