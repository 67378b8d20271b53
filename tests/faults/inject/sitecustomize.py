"""Python imports this when it starts (module site), for its folder is on PYTHONPATH."""

import faults_inside

faults_inside.begin()
