"""`python -m trio_broker`: the same as the console script `trio-broker`."""

import sys

if sys.argv[1:] == ["demo-agent"]:  # the agent is standard library only; do not pay for the CLI's imports
    from trio_broker.demo_agent import main
else:
    from trio_broker.cli import main

if __name__ == "__main__":
    sys.exit(main())
