"""The handshake with a controller: one contract, one state machine, and what carries it: Modbus TCP, OPC UA, pins."""
