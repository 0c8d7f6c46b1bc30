"""What a plug-in calls: families, patterns, architectures, methods and attacks from outside the package.

A plug-in is a module that calls the ``register_…`` functions when it is imported.  Plug-ins are the modules named in
the environment variable ``RSC_PLUGINS`` (a comma list) and those of the Python entry-point group
``rsc_mlflow.plugins``.  They are imported at the first look-up of any name; :func:`load` does so at once.
"""

from rsc_mlflow.registries import load_plugins, plugin_versions

__all__ = ["load", "versions"]

load = load_plugins
versions = plugin_versions
