"""One endpoint for every AWS service: routing, signatures, codecs, errors."""
