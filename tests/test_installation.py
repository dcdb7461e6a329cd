"""What is installed: one regular package that no folder of its name beside a script can hide."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_clone_named_like_the_package_does_not_hide_it_from_a_script_beside_it(tmp_path):
    (tmp_path / "gpt_classifier" / "gpt_classifier").mkdir(parents=True)  # a clone, without __init__.py in its root
    script = tmp_path / "script.py"
    script.write_text("import gpt_classifier; print(gpt_classifier.__file__, gpt_classifier.InputError.__name__)")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(ROOT / "gpt_classifier" / "__init__.py"), "InputError"], done.stderr
