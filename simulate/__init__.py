"""The engine of skipfl: experiments, virtual clients, what they exchange, and the command line."""
