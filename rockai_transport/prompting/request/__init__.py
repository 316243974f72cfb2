"""Messages → the exact input of one run: dialects, chat templates, parameters, tool instructions."""
