"""The commands that ask a service, here or elsewhere, through the client: upload, analyze, train, forecast and the like."""
