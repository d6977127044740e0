"""What a distiller is (``base``), and the plugin's own methods, a file each."""
