"""Heavy libraries are loaded when they are first needed, and by one thread at a time.

Two threads of which one imports numpy and the other something that stands on it wait for each
other's modules; Python then gives one of them half a module, and that process can't load numpy any
more. Whoever imports one of them first does so `with LOADING`.
"""

from __future__ import annotations

import threading

LOADING = threading.Lock()
