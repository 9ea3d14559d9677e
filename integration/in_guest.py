"""The option `--guest KERNEL` of the scripts here: the script runs once more, in the emulated machine (integration/guest)."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import in_suite

HERE = os.path.dirname(os.path.abspath(__file__))
HELP = 'run in the emulated machine with this kernel instead of here: 6.1, 6.12 or 7 (integration/guest)'
# Whether that is where we are; everything takes 25 to 60 times as long there.
THERE = 'TARE_TEST_GUEST' in os.environ
SLOWER = 10 if THERE else 1
# How long all flows of an engine may take there, in seconds.
LIMIT = 20000
# There is no compiler in there: what is beside a script as probe.c.
PROBE = '/opt/probe'


def enter():
    """Ends this process with what the same command line says in the emulated machine, if it has `--guest KERNEL`."""
    kernel, words = in_suite.taken('--guest', sys.argv)
    if kernel:
        sys.exit(send(kernel, words, LIMIT))


def send(kernel, words, seconds):
    """Runs a script with its words in the machine; the exit status of there. What is beside the script comes along, and the files
    and directories that the words name; programs without what a debugger would like to know."""
    script, *words = [os.path.abspath(word) if os.path.exists(word) else word for word in words]
    carried = [f'{HERE}/in_suite.py', f'{HERE}/in_guest.py', os.path.dirname(script)]
    with tempfile.TemporaryDirectory() as stage:
        for path in filter(os.path.exists, words):
            if os.path.isfile(path) and os.access(path, os.X_OK):
                os.makedirs(stage + os.path.dirname(path), exist_ok=True)
                subprocess.run(['objcopy', '--strip-debug', path, stage + path], check=True)
            else:
                carried.append(path)
        probe = os.path.dirname(script) + '/probe.c'
        if os.path.exists(probe):
            os.makedirs(stage + os.path.dirname(PROBE), exist_ok=True)
            subprocess.run(['cc', '-O1', '-static', '-o', stage + PROBE, probe], check=True)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        copied = [word for path in carried for word in ('--with', path)]
        guest = subprocess.Popen([f'{HERE}/guest/run', '--kernel', kernel, '--timeout', str(seconds), *copied, '--tree', stage,
                                  'env', 'TARE_TEST_GUEST=1', 'python3', script, *words])
        try:
            return guest.wait()
        finally:
            guest.terminate()
