"""The command `lighthouse`: what people and programs ask of a bridge. One module a group of commands."""
