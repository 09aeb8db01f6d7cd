"""Reviews saved events: what people say of them, found again quickly, and handed on as a data set."""
