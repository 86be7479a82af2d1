"""`python -m lighthouse_agent.cli`."""

from lighthouse_agent.cli.main import main

if __name__ == "__main__":
    main()
