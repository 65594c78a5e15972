"""Imported by a zygote under test, which must not keep what it leaves."""

import threading
import time

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
