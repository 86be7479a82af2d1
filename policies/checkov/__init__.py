"""checkov imports the modules beside this file."""
