"""Mining, packages of hard examples, and the splits that keep them honest."""
