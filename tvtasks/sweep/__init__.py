"""One image restored by many recipes: arguments, the points and their trials, and the files of the result."""
