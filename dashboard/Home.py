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

PAGES = {
    "compare": "Compare",
    "attention": "Attention",
    "gradient_rollout": "Gradient rollout",
    "activation_maximization": "Activation maximization",
    "data_set": "Data set",
}
pages = {
    name: st.Page(
        ROOT / "pages" / f"{name}.py",
        title=title,
        url_path=name,
        default=name == "compare",
    )
    for name, title in PAGES.items()
}
page = st.navigation(list(pages.values()), position="hidden")
name = next(name for name, known in pages.items() if known == page)
st.set_page_config(
    f"{page.title} · Parallax",
    page_icon=str(Path(__file__).with_name("icon.png")),
    layout="wide",
    initial_sidebar_state="auto",
)
try:
    frame.run(name, page, pages)
finally:  # also where the page stopped early or started anew
    memory.give_back()
