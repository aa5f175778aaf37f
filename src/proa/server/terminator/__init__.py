"""TLS in a process of its own: handshakes and ciphers cost the control plane no time.

The **TLS terminator** (``service``, a child of the control process) accepts the connections of the
Kubernetes API's ports, and carries what they say, in the clear, over one socket pair in ``frames``.
On the control plane's side each connection is an asyncio transport (``transport``), to which the
HTTP shell speaks as to any other; ``child`` starts the process, and another when it dies.

``service``, ``client``, ``contexts`` and ``frames`` import the standard library only, and of that
no asyncio: the process is small, and sleeps while nobody calls.
"""
