pytest_plugins = ["natsproof.pytest_plugin"]
