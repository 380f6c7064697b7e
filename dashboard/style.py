"""Style sheet of the frame."""

STYLE = """
<style>
[class*="st-key-picture-"] { position: relative; width: 46px; gap: 0; }
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-picture-"]) { width: 46px; flex: 0 0 46px; }
[class*="st-key-picture-"] img { border-radius: .5rem; display: block; width: 46px; height: 46px; }
[class*="st-key-picture-"] .stElementContainer:has(.stButton) { position: absolute; inset: 0; }
[class*="st-key-picture-"] button {
  width: 46px; height: 46px; min-height: 0; padding: 0; background: transparent !important;
  border: 3px solid transparent; border-radius: .5rem; overflow: hidden;
}
[class*="st-key-picture-"] button:hover { border-color: #14b8a688; }
[class*="st-key-picture-"] button p { font-size: 0; }
[class*="st-key-picture-"][class*="-chosen"] button { border-color: #14b8a6; }
:focus-visible, :has(> input[role="combobox"]:focus-visible),
:has(> * > input[type="range"]:focus-visible), label:has(input:focus-visible),
[data-testid="stDataFrameResizable"]:focus-within {
  outline: 2px solid var(--text-color, currentcolor) !important; outline-offset: 2px !important;
}
[data-testid="stMain"]:focus-visible { outline-offset: -2px !important; }
input[role="combobox"]:focus-visible, canvas:focus-visible { outline: none !important; }
[data-testid="stLayoutWrapper"]:has(> .st-key-current-page) { display: none; }
[class*="st-key-icon-"] button { position: relative; }
[class*="st-key-icon-"] button [data-testid="stMarkdownContainer"] {
  position: absolute; clip-path: inset(50%); white-space: nowrap;
}
[data-testid="stCaptionContainer"] { color: inherit; opacity: .8; }
[data-testid="stMain"] h1 { font-size: 1.5rem; padding: 0; }
[data-testid="stMainBlockContainer"] { padding: 1rem 2rem 2rem; container-type: inline-size; }
[data-testid="stHeader"] { background: transparent; height: 2.5rem; pointer-events: none; }
[data-testid="stHeader"] div { pointer-events: none; }
[data-testid="stHeader"] button { pointer-events: auto; }
[data-testid="stStatusWidget"] {  /* where it lies over nothing */
  position: fixed; right: 1rem; bottom: 1rem; padding: .25rem .75rem; border-radius: .5rem;
  background: var(--st-secondary-background-color, #8882);
}
[data-testid="stSidebarHeader"] { height: 2rem; margin: 0; padding: .5rem; }
[data-testid="stSidebarContent"] { padding: 0; }
[data-testid="stSidebarUserContent"] { padding: 0 1rem 1rem !important; }
[data-testid="stMain"] [data-stale="true"]:has(.stPlotlyChart, .stDataFrame) {
  opacity: 1 !important;  /* maps stay readable while others are computed */
}
.still { display: flex; gap: 1.2%; pointer-events: none; }
.still > div { flex: 1 1 0; min-width: 0; }
.still p {
  margin: 0; display: flex; flex-direction: column; justify-content: flex-end; padding: 0 0 4px 2px;
  font-size: 12px; line-height: 1.3; white-space: nowrap; overflow: hidden;
}
.still b { font-size: 14px; }
.still i { display: block; aspect-ratio: 1; }
.still.ahead { margin-top: 5rem; }
[data-testid="stVerticalBlock"]:has(> * > * > .still.below) { position: relative; }
[data-testid="stVerticalBlock"]:has(.still.below) [data-testid="stSkeleton"] { visibility: hidden; }
[data-testid="stElementContainer"]:has(.still.below) {
  position: absolute; inset: 0; pointer-events: none;
}
[data-testid="stVerticalBlock"]:has(.js-plotly-plot .main-svg) .still.below { display: none; }
.st-key-progress > :first-child { flex: 1 1 0 !important; }
[data-testid="stLayoutWrapper"]:has(> .st-key-making) { margin-bottom: -1rem; }
.st-key-progress [data-stale="true"] {
  display: none;  /* progress of a run that was ended by another choice */
}
.st-key-links { column-gap: .25rem !important; }
.st-key-links a { gap: .35rem; padding: 0 .4rem; }
.st-key-links [data-testid="stPopover"] button { height: 1.5rem; min-height: 0; padding: 0 .6rem; }
[data-testid="stMetricValue"] { font-size: 1.4rem; }
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-below-picture-"]) {
  margin-top: -2.5rem; height: 1.5rem;  /* with the gap between elements, no room of its own */
}
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-below-row-"]) { margin-top: -1rem; }
[class*="st-key-below-picture-"] button { min-height: 0; }
[class*="st-key-model-"] { flex-wrap: nowrap !important; }
[class*="st-key-model-"] > :first-child { flex: 1 1 0 !important; min-width: 0 !important; }
@media (max-width: 900px) {
  [data-testid="stMainBlockContainer"] { padding: 1rem 1rem 1rem; }
  .st-key-links { padding-right: 2rem; }
  [data-testid="stSidebar"] { min-width: 0 !important; width: 190px !important; }
  [data-testid="stSidebar"] [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  [data-testid="stSidebar"] [data-testid="stColumn"] { flex: 1 1 100%; min-width: 100%; }
  [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] [class*="st-key-query-"]) {
    flex-wrap: nowrap;
  }
  [data-testid="stColumn"]:has([class*="st-key-query-"] .stPlotlyChart) { min-width: 152px; }
  [data-testid="stMain"] [data-testid="stHorizontalBlock"]:has(
    > [data-testid="stColumn"] [data-testid="stPopoverButton"]
  ) { flex-wrap: wrap; row-gap: .5rem; }
  [data-testid="stMain"] [data-testid="stHorizontalBlock"]:has(
    > [data-testid="stColumn"] [data-testid="stPopoverButton"]
  ) > [data-testid="stColumn"] { flex: 1 1 150px; min-width: 150px; }
  .st-key-before-and-after [data-testid="stColumn"], .st-key-curves [data-testid="stColumn"] {
    flex: 1 1 100%; min-width: 100%;
  }
  [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] .st-key-measure) {
    flex-wrap: wrap;
  }
  [data-testid="stColumn"]:has(.st-key-measure) { flex: 1 1 100%; }
  .st-key-answers [data-testid="stHorizontalBlock"]:has(.stDataFrame) { flex-wrap: wrap; }
  .st-key-answers [data-testid="stHorizontalBlock"]:has(.stDataFrame) > :first-child {
    flex: 1 1 100%; min-width: 100%;
  }
}
[data-testid="stApp"]:has([data-testid="stExpandSidebarButton"]) .st-key-links {
  padding-left: 2.25rem;
}
.st-key-links > :has([class*="st-key-folded"]) { display: none; }
@media (max-width: 640px) {  /* the links fold into a menu */
  .st-key-links { flex-wrap: nowrap !important; }
  .st-key-links > :has(.stPageLink) { display: none; }
  .st-key-links > :has([class*="st-key-folded"]) { display: block; }
  .st-key-head > :first-child { flex: 1 1 100%; }
  [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] [class*="st-key-query-"]) {
    flex-wrap: wrap;
  }
  [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] [class*="st-key-query-"])
    > [data-testid="stColumn"] { flex: 1 1 100%; min-width: 100%; }
}
</style>
"""

_IN_TEXT_COLOR = '[data-testid="stSliderThumbValue"] p, button[aria-checked="true"] p'
"""Elements in the accent color, which is too dark for text on a dark background."""


def with_text_color(color: str) -> str:
    """The rules that need the text color of the browser's theme."""
    return (
        f"<style>:root {{ --text-color: {color}; }} "
        f"{_IN_TEXT_COLOR} {{ color: {color} !important; }}</style>"
    )


def current_page(number: int) -> str:
    """A script that marks the link of the current page, which Streamlit only shows in bold.

    Streamlit draws links anew in every run, so the script looks again at each change of the page.
    """
    return f"""<script>
(() => {{
  const mark = () => document.querySelectorAll(".st-key-links a").forEach((link, number) => {{
    const now = number === {number} ? "page" : null;
    if (link.getAttribute("aria-current") === now) return;
    if (now) link.setAttribute("aria-current", now);
    else link.removeAttribute("aria-current");
  }});
  window.parallaxLinks?.disconnect();
  window.parallaxLinks = new MutationObserver(mark);
  window.parallaxLinks.observe(document.body, {{subtree: true, childList: true}});
  mark();
}})();
</script>"""
