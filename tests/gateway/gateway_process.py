"""`python -m gateway_process ...` is `clearline gateway ...` of this tree."""

from gateway.cli import gateway

if __name__ == "__main__":
    gateway(prog_name="clearline gateway")
