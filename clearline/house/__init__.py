"""The whole house on one machine, for development and demonstration: starts the rooms' processes.

It imports no room: it writes their settings files and runs their command lines, as a script would.
A consortium runs each room on its own, with settings of its own.
"""
