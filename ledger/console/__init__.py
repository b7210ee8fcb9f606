"""The console: pages for people, made of what the API answers, in the front's process."""
