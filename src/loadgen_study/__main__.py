"""``python -m loadgen_study`` is ``vllm-loadgen``."""

import sys

from loadgen_study.cli import main

sys.exit(main())
