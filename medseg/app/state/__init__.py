"""What one visitor has open, and what this process can show. No gradio."""
