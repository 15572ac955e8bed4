"""A suite that holds any server of the Remote Execution API to its specification.

It is a black box's judge: it speaks gRPC, and imports the protocol and nothing else of this
project. `check` and `violation` are what checks are written with, `target` is the server that they
are given, `sections` has them all, `running` runs them.
"""
