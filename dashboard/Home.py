"""Entry point: ``streamlit run dashboard/Home.py``."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# `streamlit run` puts only this file's folder on the path; the variable lets the file watcher
# reload edited modules as well.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))

import streamlit as st  # noqa: E402

from dashboard import frame, memory  # noqa: E402

st.set_page_config("Parallax", page_icon=":material/visibility:", layout="wide")

page = st.navigation(
    [
        st.Page(
            ROOT / "pages" / "compare.py",
            title="Compare",
            icon=":material/compare:",
            url_path="compare",
            default=True,
        ),
        st.Page(
            ROOT / "pages" / "attention.py",
            title="Attention",
            icon=":material/grid_view:",
            url_path="attention",
        ),
        st.Page(
            ROOT / "pages" / "gradient_rollout.py",
            title="Gradient rollout",
            icon=":material/call_split:",
            url_path="gradient_rollout",
        ),
        st.Page(
            ROOT / "pages" / "activation_maximization.py",
            title="Activation maximization",
            icon=":material/auto_awesome:",
            url_path="activation_maximization",
        ),
    ],
    position="top",
)
try:
    frame.run(page)
finally:  # also where the page stopped early or started anew
    memory.give_back()
