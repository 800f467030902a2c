"""How Sphinx builds the documentation; tests/docs.py writes the pages of the API and calls it."""

import attrib_widgets

project = "attrib_widgets"
author = copyright = "attrib_widgets contributors"
release = version = attrib_widgets.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"attrib_widgets {release}"
html_copy_source = False
html_extra_path = ["pictures"]
exclude_patterns = ["_build"]

# Signatures are read, not evaluated: a shape such as "layer head" is a string on purpose.
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": "tuple,list,str,Sequence"}
python_use_unqualified_type_names = True
add_module_names = False

# Notebooks are committed with their outputs. No page asks another host for anything.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_heading_anchors = 3
napoleon_use_ivar = True
# A shape's axes (tokens, layers) are no references.
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]


def setup(app):
    """Leaves out what is not ours: nnsight gives every object a `save`; fields of tuples stand in the signature."""

    def skip(app, what, name, obj, skip, options):
        foreign = str(getattr(obj, "__module__", "")).startswith("nnsight")
        return True if foreign or type(obj).__name__ == "_tuplegetter" else None

    app.connect("autodoc-skip-member", skip)
