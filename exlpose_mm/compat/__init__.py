"""What differs between machines, versions and installed packages."""
