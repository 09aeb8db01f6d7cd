"""Work that outgrows a process, on Ray: many builds, and archives of images. Nothing else imports this package."""
