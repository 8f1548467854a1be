# SPDX-License-Identifier: Apache-2.0
"""How bytes travel: MQTT, TLS and the transfer of blobs."""
