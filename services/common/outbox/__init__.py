"""A durable outbox: what a service has to put on record, until control has it (protos/kairos/control/v1/audit.proto).

`outbox` is the port, `sqlite_outbox` and `redis_outbox` are its adapters, `delivery` brings the entries to control.
"""
