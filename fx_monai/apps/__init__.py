"""What the commands do: each module serves one verb or one workflow."""
