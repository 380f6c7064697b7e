"""Entry point: ``streamlit run dashboard/Home.py``."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# `streamlit run` puts only this file's folder on the path; the variable lets Streamlit's file
# watcher, where a developer turns it on, reload edited modules as well.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))

import streamlit as st  # noqa: E402

import pages as _pages  # noqa: E402, F401  # registers all pages


def draw() -> None:
    """Draw the page that the address names, in the frame that all pages share."""
    from dashboard import registry, splash, startup

    titles = {name: page.title for name, page in registry.pages().items()}

    pages = {
        name: st.Page(
            registry.pages()[name].file,
            title=title,
            url_path="home" if name == "compare" else name,  # never visible for the default page
            default=name == "compare",
        )
        for name, title in titles.items()
    }
    # The default page is served at "/" only, so Compare is listed again under its own name.
    named = st.Page(registry.pages()["compare"].file, title=titles["compare"], url_path="compare")
    page = st.navigation([*pages.values(), named], position="hidden")
    if page == named:
        pages["compare"] = named
    name = next(name for name, known in pages.items() if known == page)
    st.set_page_config(
        f"{page.title} · Parallax",
        page_icon=str(Path(__file__).with_name("icon.png")),
        layout="wide",
        initial_sidebar_state="auto",
    )
    with splash.shown(name, pages), startup.importing:
        from dashboard import frame
    try:
        frame.run(name, page, pages)
    finally:  # also where the page stopped early or started anew
        startup.give_back()


if __name__ == "__main__":  # a run of the script
    draw()
else:  # the server, which imports this file once
    from dashboard import server

    app = st.App(
        __file__,
        lifespan=server.lifespan,
        routes=server.ROUTES,
        middleware=server.MIDDLEWARE,
        on_script_error=server.failed,
    )
