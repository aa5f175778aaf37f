"""Reading a document over HTTPS, for ``server.issuers``: one of the places that know aiohttp."""

from __future__ import annotations

from proa.base.errors import CallerFault, TryAgain

TIMEOUT_S = 5.0
MAX_DOCUMENT = 256 * 1024


async def fetch(url: str) -> bytes:
    """The document behind a URL. Raises CallerFault for what is none, TryAgain for a host that
    does not answer."""
    import aiohttp  # only who trusts an issuer of the outside ever reads from one

    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise CallerFault(f"{url} answered {answer.status}")
            document = b""
            while len(document) <= MAX_DOCUMENT and not answer.content.at_eof():
                document += await answer.content.read(MAX_DOCUMENT)
    except aiohttp.ClientSSLError as error:
        raise CallerFault(f"the certificate of {url} is not trusted") from error
    except aiohttp.InvalidURL as error:
        raise CallerFault(f"{url} is no address") from error
    except (TimeoutError, aiohttp.ClientError) as error:
        raise TryAgain(f"{url} does not answer") from error
    if len(document) > MAX_DOCUMENT:
        raise CallerFault(f"the document at {url} is too large")
    return document
