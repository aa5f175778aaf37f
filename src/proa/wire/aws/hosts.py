"""What host names say: the bucket of S3's virtual-hosted style.

Signatures are over the path with the bucket in front (version 2), and moto sees only the path
style, so both need to know.
"""

from __future__ import annotations

import re

# bucket.s3.…, bucket.s3-eu-west-1.…, bucket.localhost
_BUCKET_HOST = re.compile(r"(?P<bucket>.+?)\.(?:s3[.-].+|localhost)", re.IGNORECASE)


def bucket_of_host(host: str) -> str:
    """The bucket that a host name carries (virtual-hosted style), or ""."""
    found = _BUCKET_HOST.fullmatch(host.partition(":")[0])
    return found["bucket"] if found else ""
