"""The whole system on one machine: no AWS account, no Docker, no relay, no database.

Each module stands in for one neighbour of the functions and keeps that neighbour's rules, so that
what runs here runs there. Every server listens on loopback only.
"""
