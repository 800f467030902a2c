"""What heads and neurons would do, from their weights: tables over tokens, and which head reads which."""
