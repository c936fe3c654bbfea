"""What is deployed over the REST API and survives a restart: namespaces, secrets, functions. Files below the state directory."""
