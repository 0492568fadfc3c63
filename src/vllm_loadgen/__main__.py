"""``python -m vllm_loadgen`` is ``vllm-loadgen``."""

import sys

from vllm_loadgen.cli import main

sys.exit(main())
