"""What the browser is sent: results as headers and arrays, typed by :mod:`.contract`."""
