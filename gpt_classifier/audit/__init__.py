"""What labelled texts are like before anything is trained on them, and what a person should correct."""
