"""The proxy through which the operator's network is left."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

from gateway.errors import InvalidRequest


def proxy_for(url: str) -> str | None:
    """Returns the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names for this address, unless
    NO_PROXY spares it. Raises InvalidRequest for a proxy that does not speak HTTP."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise InvalidRequest(
            f"The proxy for {parts.scheme} addresses must be an HTTP proxy: set "
            f"{parts.scheme.upper()}_PROXY to http://host:port, or unset it."
        )
    return proxy
