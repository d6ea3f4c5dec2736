"""The server's side of a Worker's ``env.AI``: what its class asks for over HTTP, however it comes here."""
