"""In the place of a grammar of URLs that jsonschema does without, and with which each import of gradio would take a
second longer: gradio imports mcp, mcp jsonschema, and that the grammar where the extra docs brings it."""

raise ImportError("absent from tests, for their speed")
