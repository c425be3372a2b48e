"""Audits that run by themselves in every study: each looks for one fault and says what it found, with figures."""
