"""What this machine reaches, beside what others reach on it in the same run. Start at README.md."""
