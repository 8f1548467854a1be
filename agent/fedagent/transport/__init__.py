# SPDX-License-Identifier: Apache-2.0
"""The network side: MQTT over mutual TLS, signed mail, and the transfer of models."""
